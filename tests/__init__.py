"""Tests of aimc_lightning."""
