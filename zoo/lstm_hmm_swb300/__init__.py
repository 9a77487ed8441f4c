"""Bidirectional LSTM acoustic model of a hybrid recogniser for Switchboard."""
