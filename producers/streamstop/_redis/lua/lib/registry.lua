--! include lib/shutdown
-- Writing a room's registry.

-- Write entries (task, command) into a room's registry, which lasts `ttl` s from now on.
local function note(room, entries, ttl)
    local registry, fields = room_key(room, 'tasks'), {}
    for at, entry in ipairs(entries) do
        fields[at * 2 - 1] = entry.task
        fields[at * 2] = entry.command
    end
    redis.call('HSET', registry, unpack(fields))
    redis.call('EXPIRE', registry, ttl)
end
