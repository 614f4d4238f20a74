"""Live events of one product: WebSocket, backfill of missed data, and the state folded from both."""
