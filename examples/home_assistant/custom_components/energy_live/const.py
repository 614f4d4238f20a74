"""Names of the integration."""

DOMAIN = "energy_live"
