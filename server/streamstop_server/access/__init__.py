"""Who may do what: tokens, sessions, scopes, accounts."""
