"""Files and folders: written at once, digested, listed and locked."""
