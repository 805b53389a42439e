"""modelworks: versioned data in at one end, a model that earned production out at the other."""
