--! include lib/clock
--! const CONTROLS
-- Changes the hash of controls.

-- Write a field (HSET) or delete it (HDEL), and change the version. Delete the hash if it holds nothing else.
local function change_controls(command, ...)
    redis.call(command, CONTROLS, ...)
    if redis.call('HLEN', CONTROLS) - redis.call('HEXISTS', CONTROLS, 'version') == 0 then
        redis.call('DEL', CONTROLS)
    else
        local version = tonumber(redis.call('HGET', CONTROLS, 'version') or 0) or 0
        redis.call('HSET', CONTROLS, 'version', integer(math.max(now, version + 1)))
    end
end
