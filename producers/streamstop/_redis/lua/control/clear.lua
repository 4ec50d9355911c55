--! include lib/event lib/announce lib/change_controls lib/writing
--! const CONTROLS
--! args by endings(field value kind account operation text lane)...
-- End pauses, limits and holds.
--
-- by       who does it, for the events; '': their time is over
-- endings  field: see _core.controls;  value: end it only if it is this, or '' for any;  kind, account, operation, text: of
--          the event;  lane: a lane to look at soon, or ''
-- Returns  a list with 1 for each that has ended, and 0 for each that there was not
local ended = {}
for at, ending in ipairs(endings) do
    local current = redis.call('HGET', CONTROLS, ending.field)
    ended[at] = 0
    if current and (ending.value == '' or ending.value == current) then
        begin_writing()
        change_controls('HDEL', ending.field)
        add_event(ending.kind, ending.account, ending.operation, by, ending.text)
        if ending.lane ~= '' then announce(ending.lane) end
        ended[at] = 1
    end
end
return ended
