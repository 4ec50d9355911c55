--! include lib/event lib/announce lib/change_controls lib/writing
--! args field value kind account operation by text lane
-- Write a pause or a limit. Lanes obey it from a worker's next look on.
--
-- field, value              see _core.controls
-- kind, account, operation  of the event, and who did it (by), and what happened (text)
-- lane                      a lane to look at soon, for its next slot may come earlier; or ''
-- Returns                   1
begin_writing()     -- an emergency stop must not fail because Redis is full
change_controls('HSET', field, value)
add_event(kind, account, operation, by, text)
if lane ~= '' then announce(lane) end
return 1
