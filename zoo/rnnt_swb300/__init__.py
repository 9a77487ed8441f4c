"""RNN transducer of about 57 million parameters for Switchboard."""
