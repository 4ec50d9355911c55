--! include lib/clock lib/shutdown lib/control
--! const CALLBACKS_LANE
-- Ends a shutdown.

local SHUTDOWN_KEPT = 604800        -- s, after the last task has ended

-- End the shutdown if every stream task in it has ended.
local function conclude(id)
    local key = shutdown_key(id)
    local values = redis.call('HMGET', key, 'status', 'scanned', 'total', 'ended', 'attention', 'cancelled',
        'room', 'closed_for', 'callback', 'room_open', 'joining')
    if values[1] ~= 'open' or values[2] ~= '1' or values[3] ~= values[4] or values[11] then return end
    local status = 'done'
    if values[6] == '1' then
        status = 'cancelled'
    elseif tonumber(values[5]) > 0 then
        status = 'needs_attention'
    end
    redis.call('HSET', key, 'done', now_s)
    write_status(id, status)
    local state = room_key(values[7], 'state')
    if values[10] ~= '1' and redis.call('HGET', state, 'shutdown') == id then
        redis.call('HSET', state, 'closed_until', integer(now_s + values[8]))
    end
    expire_shutdown(id, SHUTDOWN_KEPT)
    if values[9] ~= '' then
        -- A task that starts late reopens its shutdown. So a shutdown can end more than once, and each end is called back.
        local calls = redis.call('HINCRBY', key, 'calls', 1)
        local message = string.gsub(values[9], '@call@', calls)
        queue_control(message, CALLBACKS_LANE)
    end
end
