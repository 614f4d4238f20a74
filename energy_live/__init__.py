"""The roof: a command line, a demo and a simulator of both services, built on the clients below.

Nothing is imported here, so that `energy-live --help` costs no more than it must.
"""
