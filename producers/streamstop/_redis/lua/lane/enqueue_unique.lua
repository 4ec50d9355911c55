--! include lib/announce lib/record
--! const RESULT UNIQUE
--! args ttl:int jobs(lane digest id expires_at list message)...
-- Put the jobs of unique commands into their lanes, except where a job of the same command is open.
--
-- ttl      of the keys that name the open jobs, s. A record must last as long: by it an ended job is told from an open one
-- jobs     expires_at: µs since the epoch; '': never
-- Returns  the id of each command's open job

-- Return whether a job that expires at `known` is as good as one that expires at `wanted`.
local function lasts(known, wanted)
    return known == '' or wanted ~= '' and tonumber(known) >= tonumber(wanted)
end

-- Return the id of the open job that `key` names, if it does not expire before `expires_at`.
local function find_open(key, expires_at)
    local id, known = unpack(redis.call('HMGET', key, 'id', 'expires_at'))
    if id and lasts(known or '', expires_at) and not has_ended(redis.call('MGET', RESULT .. id)[1]) then return id end
end

local ids, is_checked, is_announced, lanes = {}, {}, {}, {}
for _, job in ipairs(jobs) do
    if not is_checked[job.list] then
        redis.call('LLEN', job.list)        -- a key of another type raises its error before anything is written
        is_checked[job.list] = true
    end
end
for i, job in ipairs(jobs) do
    local key = UNIQUE .. job.lane .. '.' .. job.digest
    ids[i] = find_open(key, job.expires_at)
    if not ids[i] then
        ids[i] = job.id
        redis.call('LPUSH', job.list, job.message)
        redis.call('HSET', key, 'id', job.id, 'expires_at', job.expires_at)
        redis.call('EXPIRE', key, ttl)
        if not is_announced[job.lane] then lanes[#lanes + 1] = job.lane end
        is_announced[job.lane] = true
    end
end
if #lanes > 0 then announce(unpack(lanes)) end
return ids
