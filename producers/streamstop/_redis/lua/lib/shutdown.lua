--! include lib/clock
--! const SHUTDOWN ROOM SHUTDOWNS_OPEN SHUTDOWNS_ENDED
-- Shutdowns and their rooms:
--
-- streamstop.shutdown.<id>            hash  room, opened, total, ended, attention, scanned, cancelled, status, done,
--                                           verify, callback, calls, reopened, closed_for, n:<result>,
--                                           room_open: 1 where only requeued dead letters keep the shutdown open, and
--                                           its room can be used again
--                                           trace: headers of its jobs, if its opener is traced
--                                           joining: 1 while a batch of its room is not fully applied
-- streamstop.shutdown.<id>:tasks      hash  member -> command: every stream task of the shutdown
-- streamstop.shutdown.<id>:jobs       hash  member -> id of the job that stops it
-- streamstop.shutdown.<id>:todo       list  members whose jobs are not in their lanes yet
-- streamstop.shutdown.<id>:again      hash  task that was started again -> its latest member
-- streamstop.shutdown.<id>:lanes      hash  <lane>:total, <lane>:ended
-- streamstop.shutdown.<id>:outcomes   hash  member -> outcome
-- streamstop.shutdowns.open            hash  id of an open shutdown -> when it became open
-- streamstop.shutdowns.ended           zset  id of one of the latest ended shutdowns -> when it ended; one that is open
--                                           again stays
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

-- Write a shutdown's status, and index the shutdown for people. An index that Redis refuses must not keep a shutdown from
-- opening or ending. The user for rooms may not write ended ones: almost all are written by workers.
local function write_status(id, status)
    redis.call('HSET', shutdown_key(id), 'status', status)
    if status == 'open' then
        redis.pcall('HSETNX', SHUTDOWNS_OPEN, id, integer(now))
        redis.pcall('EXPIRE', SHUTDOWNS_OPEN, SHUTDOWN_OPEN)
    else
        redis.pcall('HDEL', SHUTDOWNS_OPEN, id)
        redis.pcall('ZADD', SHUTDOWNS_ENDED, integer(now), id)
        redis.pcall('EXPIRE', SHUTDOWNS_ENDED, SHUTDOWN_OPEN)
        redis.pcall('ZREMRANGEBYRANK', SHUTDOWNS_ENDED, 0, -MOST_ENDED - 1)
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
