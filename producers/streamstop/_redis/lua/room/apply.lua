--! include lib/clock lib/shutdown lib/batch lib/registry lib/join lib/conclude
--! args room most:int
-- Apply the next entries of the room's accepted batch: write them into the registry, into a shutdown, or into both. An
-- entry that is applied twice changes nothing.
--
-- room
-- most     how many entries to apply
-- Returns  1: the batch holds more entries;  0: no accepted batch is left
local state = room_key(room, 'state')
local batch, kind, id, ttl = unpack(redis.call('HMGET', state, 'batch', 'batch_kind', 'batch_joins', 'batch_ttl'))
if not batch then return 0 end
ttl = tonumber(ttl)
local key = batch_key(batch)
-- The first write needs no memory. After it, Redis runs the rest of the script also over its memory limit.
redis.call('EXPIRE', key, math.max(ttl, SHUTDOWN_OPEN))
local at = tonumber(redis.call('HGET', key, 'at') or 0)
local fields, entries = {}, {}
for number = at, at + most - 1 do fields[#fields + 1] = integer(number) end
for _, text in ipairs(redis.call('HMGET', key, unpack(fields))) do
    local task, command = string.match(text or '', '^([^\n]*)\n(.*)$')
    if task then entries[#entries + 1] = {task = task, command = command} end
end
local joins = id ~= '' and redis.call('EXISTS', shutdown_key(id)) == 1
if #entries > 0 then
    if kind == 'registered' then write_registry(room, entries, ttl) end
    if joins then join(id, entries, kind == 'registered') end
end
redis.call('HDEL', key, unpack(fields))
if redis.call('HLEN', key) > (at > 0 and 1 or 0) then
    redis.call('HSET', key, 'at', integer(at + most))
    return 1
end
redis.call('HDEL', key, 'at')
redis.call('HDEL', state, 'batch', 'batch_kind', 'batch_joins', 'batch_ttl')
if joins then
    redis.call('HDEL', shutdown_key(id), 'joining')
    conclude(id)
    publish_change(id)
end
return 0
