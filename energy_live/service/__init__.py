"""`energy-live run`: a service that reads the accounts and feeds the outputs."""
