--! const REQUEST
-- Requests: calls with an idempotency key, whose repetition enqueues nothing.
--
-- streamstop.request.<id>   hash  digest: of the commands;  state: pending or done;  nonce: of the call that began it, from
--                                 which the jobs' ids derive;  ids: of the jobs, separated by spaces, if they do not

local function request_key(id)
    return REQUEST .. id
end

-- Return what is known of a request, as the caller is answered: {'other'}, of other commands; {'pending', nonce}; or
-- {'done', nonce, ids}. nil: nothing is.
local function known_request(id, digest)
    local key = request_key(id)
    local known, state, nonce, ids = unpack(redis.call('HMGET', key, 'digest', 'state', 'nonce', 'ids'))
    if not state then return nil end
    if known ~= digest then return {'other'} end
    if state ~= 'done' then return {'pending', nonce} end
    redis.call('HSET', key, 'state', state)     -- a write, so that WAIT counts the replicas that have all before it
    return {'done', nonce, ids or ''}
end

-- Note a request. `ids` may be ''.
local function note_request(id, digest, nonce, state, ttl, ids)
    local key = request_key(id)
    redis.call('HSET', key, 'digest', digest, 'nonce', nonce, 'state', state)
    if ids ~= '' then redis.call('HSET', key, 'ids', ids) end
    redis.call('EXPIRE', key, ttl)
end
