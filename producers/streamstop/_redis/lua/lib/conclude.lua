--! include lib/clock lib/shutdown lib/control
--! const CALLBACKS_LANE
-- The end of a shutdown.

local SHUTDOWN_KEPT = 604800        -- s, after the last task has ended

-- Close the shutdown if everything in it has ended.
local function conclude(id)
    local key = shutdown_key(id)
    local held = redis.call('HMGET', key, 'status', 'scanned', 'total', 'ended', 'attention', 'cancelled',
        'room', 'closed_for', 'callback', 'room_open', 'joining')
    if held[1] ~= 'open' or held[2] ~= '1' or held[3] ~= held[4] or held[11] then return end
    local status = 'done'
    if held[6] == '1' then
        status = 'cancelled'
    elseif tonumber(held[5]) > 0 then
        status = 'needs_attention'
    end
    redis.call('HSET', key, 'status', status, 'done', now_s)
    local state = room_key(held[7], 'state')
    if held[10] ~= '1' and redis.call('HGET', state, 'shutdown') == id then
        redis.call('HSET', state, 'closed_until', integer(now_s + held[8]))
    end
    expire_shutdown(id, SHUTDOWN_KEPT)
    if held[9] ~= '' then
        -- A late starter reopens a shutdown; so it can end more than once, and each end is told.
        local calls = redis.call('HINCRBY', key, 'calls', 1)
        local message = string.gsub(held[9], '@call@', calls)
        queue_control(message, CALLBACKS_LANE)
    end
end
