"""Two evaluated models side by side: what changed, may it pass, whose answers help more."""
