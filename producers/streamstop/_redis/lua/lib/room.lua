--! include lib/shutdown
-- What is true of a room now.

-- Whether a shutdown is open, and so its room is closing.
local function is_closing(id)
    local held = redis.call('HMGET', shutdown_key(id), 'status', 'room_open')
    return held[1] == 'open' and held[2] ~= '1'
end

-- Whether an accepted batch of the room is not applied whole. Nothing is decided about the room before it is.
local function is_pending(room)
    return redis.call('HEXISTS', room_key(room, 'state'), 'batch') == 1
end
