--! const ARRIVALS WAKE
-- Announces to workers that lanes hold jobs.

-- Wake one idle worker. One token is enough: the worker that takes it looks at every announced lane.
local function wake()
    if redis.call('LLEN', WAKE) == 0 then redis.call('RPUSH', WAKE, 1) end
end

-- Announce lanes into which something was put.
local function announce(...)
    redis.call('SADD', ARRIVALS, ...)
    wake()
end
