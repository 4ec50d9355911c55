--! include lib/shutdown
--! const BATCH
-- Batches of a room. A call with more stream tasks than one script takes stages them as a batch. One script accepts the
-- batch, and then it is applied in pieces.
--
-- streamstop.batch.<id>    hash  0, 1, … -> '<task>\n<command>';  at: the number of the first entry that is not applied

local function batch_key(batch)
    return BATCH .. batch
end

-- Return whether a staged batch holds all of its entries. '' stands for no batch.
local function is_complete(batch, entries)
    return batch == '' or redis.call('HLEN', batch_key(batch)) == entries
end

-- Accept a complete batch. From now on the room's other operations apply it before they decide anything.
-- `kind` is 'registered' or 'stopped'; `joins` is the shutdown that its tasks join, or nil.
local function accept_batch(room, batch, kind, joins, ttl)
    local state = room_key(room, 'state')
    redis.call('HSET', state, 'batch', batch, 'batch_kind', kind, 'batch_joins', joins or '', 'batch_ttl', ttl)
    redis.call('EXPIRE', state, math.max(ttl, SHUTDOWN_OPEN))
    redis.call('EXPIRE', batch_key(batch), math.max(ttl, SHUTDOWN_OPEN))
    if joins then
        redis.call('HSET', shutdown_key(joins), 'joining', 1)
        write_status(joins, 'open')
        expire_shutdown(joins, SHUTDOWN_OPEN)
        publish_change(joins)
    end
end
