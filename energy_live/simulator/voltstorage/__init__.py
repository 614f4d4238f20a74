"""Simulator of VoltStorage, written from its document."""
