--! include lib/writing
--! const EVENTS
-- The stream of events: see _core.journal. Every event is also told on the channel of the same name.

local MOST_EVENTS = 10000

-- Add an event to the stream. `account`, `operation` and `by` may be ''.
local function add_event(kind, account, operation, by, text)
    begin_writing()
    -- An event that Redis refuses must not keep a job from being reported: the key may be of another type, or the Redis
    -- user may lack the channel. Who follows looks every few seconds without it.
    redis.pcall('XADD', EVENTS, 'MAXLEN', '~', MOST_EVENTS, '*', 'kind', kind, 'account', account, 'operation', operation,
        'by', by, 'text', text)
    redis.pcall('PUBLISH', EVENTS, kind)
end
