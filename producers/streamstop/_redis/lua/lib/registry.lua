--! include lib/shutdown
-- A room's registry.

-- Write entries (task, command) into a room's registry, and let it expire after `ttl` s.
local function write_registry(room, entries, ttl)
    local registry, fields = room_key(room, 'tasks'), {}
    for at, entry in ipairs(entries) do
        fields[at * 2 - 1] = entry.task
        fields[at * 2] = entry.command
    end
    redis.call('HSET', registry, unpack(fields))
    redis.call('EXPIRE', registry, ttl)
end
