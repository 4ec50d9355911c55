--! include lib/writing
--! const EVENTS
-- The stream of events: see _core.journal.

local MOST_EVENTS = 10000

-- Add an event to the stream. `account`, `operation` and `by` may be ''.
local function add_event(kind, account, operation, by, text)
    begin_writing()
    redis.call('XADD', EVENTS, 'MAXLEN', '~', MOST_EVENTS, '*', 'kind', kind, 'account', account, 'operation', operation,
        'by', by, 'text', text)
end
