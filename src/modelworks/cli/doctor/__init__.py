"""What `modelworks doctor` looks at, a file per kind of thing. To look changes nothing; what mends is done apart."""
