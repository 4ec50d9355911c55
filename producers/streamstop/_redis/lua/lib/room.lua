--! include lib/shutdown
-- The state of a room.

-- Return whether a shutdown is open and its room is closing with it.
local function is_closing(id)
    local values = redis.call('HMGET', shutdown_key(id), 'status', 'room_open')
    return values[1] == 'open' and values[2] ~= '1'
end

-- Return whether the room has an accepted batch that is not fully applied. No script decides anything about the room
-- before it is.
local function is_pending(room)
    return redis.call('HEXISTS', room_key(room, 'state'), 'batch') == 1
end
