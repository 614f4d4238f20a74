"""Commands that print one table: sites, now, alarms, history and doctor."""
