--! include lib/shutdown
--! const BATCH
-- Batches of a room: more tasks than one script takes. They are staged as the hash streamstop.batch.<id>:
-- 0, 1, … -> '<task>\n<command>', and 'at': the number of the first that is not applied. One script accepts a batch; then
-- it is applied in pieces.

local function batch_key(batch)
    return BATCH .. batch
end

-- Whether a staged batch holds all of its entries; '' is none.
local function is_whole(batch, entries)
    return batch == '' or redis.call('HLEN', batch_key(batch)) == entries
end

-- Accept a batch that is whole: from now on it is applied before anything is decided about the room.
-- `kind` is 'registered' or 'stopped'; `joins` is the shutdown that its tasks join, or nil.
local function accept(room, batch, kind, joins, ttl)
    local state = room_key(room, 'state')
    redis.call('HSET', state, 'batch', batch, 'batch_kind', kind, 'batch_joins', joins or '', 'batch_ttl', ttl)
    redis.call('EXPIRE', state, math.max(ttl, SHUTDOWN_OPEN))
    redis.call('EXPIRE', batch_key(batch), math.max(ttl, SHUTDOWN_OPEN))
    if joins then
        redis.call('HSET', shutdown_key(joins), 'joining', 1, 'status', 'open')
        expire_shutdown(joins, SHUTDOWN_OPEN)
        tell(joins)
    end
end
