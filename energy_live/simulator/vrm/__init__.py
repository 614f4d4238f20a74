"""Simulator of VRM, written from captured answers, its OpenAPI document and its older reference text.

One module for each group of endpoints, named like the client's resources.
"""
