"""Simulator of VRM, written from captured answers, its OpenAPI document and its older reference text."""
