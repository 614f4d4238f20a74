"""Recorded data of products as rows: requests, chunks of long ranges, and the CSV and JSON formats."""
