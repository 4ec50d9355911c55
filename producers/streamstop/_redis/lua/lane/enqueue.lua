--! include lib/announce lib/record lib/request
--! const RESULT UNIQUE
--! args request request_digest nonce request_ttl:int ttl:int jobs(lane digest id expires_at list message)...
-- Put jobs into their lanes: not those of unique commands that have an open job, and none if the request was made before.
--
-- request         id of the request; '': it has no idempotency key
-- request_digest  of its commands
-- request_ttl     for how many s the request is known
-- ttl             of the keys that name open jobs, s. A record must last as long: by it an ended job is told from an open one
-- jobs            digest: of a unique command; '': it is not unique.  expires_at: µs since the epoch; '': never
-- Returns         {'new', nonce, the ids of the jobs, separated by spaces}, or what is known of the request

-- Return whether a job that expires at `known` is as good as one that expires at `wanted`.
local function lasts(known, wanted)
    return known == '' or wanted ~= '' and tonumber(known) >= tonumber(wanted)
end

-- Return the id of the open job that `key` names, if it does not expire before `expires_at`.
local function find_open(key, expires_at)
    local id, known = unpack(redis.call('HMGET', key, 'id', 'expires_at'))
    if id and lasts(known or '', expires_at) and not has_ended(redis.call('MGET', RESULT .. id)[1]) then return id end
end

local known = request ~= '' and known_request(request, request_digest)
if known then return known end
local ids, is_checked, is_announced, lanes, has_unique = {}, {}, {}, {}, false
for _, job in ipairs(jobs) do
    if not is_checked[job.list] then
        redis.call('LLEN', job.list)        -- a key of another type raises its error before anything is written
        is_checked[job.list] = true
    end
end
for i, job in ipairs(jobs) do
    local key = job.digest ~= '' and UNIQUE .. job.lane .. '.' .. job.digest
    has_unique = has_unique or key
    ids[i] = key and find_open(key, job.expires_at) or nil
    if not ids[i] then
        ids[i] = job.id
        redis.call('LPUSH', job.list, job.message)
        if key then
            redis.call('HSET', key, 'id', job.id, 'expires_at', job.expires_at)
            redis.call('EXPIRE', key, ttl)
        end
        if not is_announced[job.lane] then lanes[#lanes + 1] = job.lane end
        is_announced[job.lane] = true
    end
end
local text = table.concat(ids, ' ')
if request ~= '' then note_request(request, request_digest, nonce, 'done', request_ttl, has_unique and text or '') end
if #lanes > 0 then announce(unpack(lanes)) end
return {'new', nonce, text}
