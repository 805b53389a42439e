"""Production: promotion, rollback and the audit log."""
