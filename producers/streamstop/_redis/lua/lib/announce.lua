--! const ARRIVALS WAKE
-- Telling workers that lanes hold jobs.

-- Wake one idle worker. A single token is enough: whoever takes it looks at everything that was announced.
local function wake()
    if redis.call('LLEN', WAKE) == 0 then redis.call('LPUSH', WAKE, 1) end
end

-- Tell workers of the lanes that something was put into.
local function announce(...)
    redis.call('SADD', ARRIVALS, ...)
    wake()
end
