"""RNN transducer on connected digit strings."""
