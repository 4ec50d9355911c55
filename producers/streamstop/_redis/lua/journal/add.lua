--! include lib/event
--! args kind account operation by text
-- Add an event to the journal.
--
-- kind                    a value of EventKind
-- account, operation, by  may be ''
-- text                    what happened
add_event(kind, account, operation, by, text)
