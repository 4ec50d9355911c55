--! include lib/clock
--! const SHUTDOWN ROOM SHUTDOWNS_OPEN SHUTDOWNS_ENDED
-- Shutdowns and their rooms:
--
-- streamstop.shutdown.<id>            hash  room, opened, total, ended, attention, scanned, cancelled, status, done,
--                                           verify, callback, calls, reopened, closed_for, n:<result>,
--                                           room_open: 1 where only requeued dead letters keep the shutdown open, and
--                                           its room can be used again
--                                           joining: 1 while a batch of its room is not fully applied
-- streamstop.shutdown.<id>:tasks      hash  member -> command: every stream task of the shutdown
-- streamstop.shutdown.<id>:jobs       hash  member -> id of the job that stops it
-- streamstop.shutdown.<id>:todo       list  members whose jobs are not in their lanes yet
-- streamstop.shutdown.<id>:again      hash  task that was started again -> its latest member
-- streamstop.shutdown.<id>:lanes      hash  <lane>:total, <lane>:ended
-- streamstop.shutdown.<id>:outcomes   hash  member -> outcome
-- streamstop.shutdowns.open            zset  id of an open shutdown -> when it became open
-- streamstop.shutdowns.ended           zset  id of one of the latest ended shutdowns -> when it ended
-- streamstop.room.<name>:tasks        hash  task -> command: the registry
-- streamstop.room.<name>:state        hash  shutdown, closed_until, and for a batch that is accepted and not fully
--                                           applied: batch (its id), batch_kind, batch_joins (a shutdown, or ''),
--                                           batch_ttl
--
-- A member is a task. If the same task was started again while its room closed, the member is the task and a number.

local SHUTDOWN_OPEN = 2592000       -- s: the longest that a shutdown can stay open
local MOST_ENDED = 1000             -- ended shutdowns in the index

local function shutdown_key(id, part)
    return SHUTDOWN .. id .. (part and (':' .. part) or '')
end

local function room_key(name, part)
    return ROOM .. name .. ':' .. part
end

-- Write a shutdown's status, and index the shutdown for people. The user of a producer may be forbidden to write the index.
local function write_status(id, status)
    redis.call('HSET', shutdown_key(id), 'status', status)
    local is_open = status == 'open'
    local to, from = SHUTDOWNS_OPEN, SHUTDOWNS_ENDED
    if not is_open then to, from = from, to end
    redis.pcall('ZADD', to, is_open and 'NX' or 'CH', integer(now), id)
    redis.pcall('ZREM', from, id)
    redis.pcall('EXPIRE', to, SHUTDOWN_OPEN)
    if is_open then
        redis.pcall('ZREMRANGEBYSCORE', to, '-inf', integer(now - SHUTDOWN_OPEN * SECOND))
    else
        redis.pcall('ZREMRANGEBYRANK', to, 0, -MOST_ENDED - 1)
    end
end

-- Let every key of a shutdown expire after `seconds`.
local function expire_shutdown(id, seconds)
    redis.call('EXPIRE', shutdown_key(id), seconds)
    for _, part in ipairs({'tasks', 'jobs', 'todo', 'again', 'lanes', 'outcomes'}) do
        redis.call('EXPIRE', shutdown_key(id, part), seconds)
    end
end

-- Publish that a shutdown has changed.
local function publish_change(id)
    redis.call('PUBLISH', shutdown_key(id), '')
end

-- Return the lane that a job's id names.
local function lane_of(job_id)
    return string.match(job_id, '^(.*)%.[^.]*$')
end
