-- Take a job back that no worker has taken. What still waits somewhere is dropped when it would be given to a worker.
--
-- ARGV[1]  lane
-- ARGV[2]  id
-- ARGV[3]  record  the outcome, as Celery keeps results
-- ARGV[4]  ttl     of the record, s
-- ARGV[5…10]  settlement  of the shutdown that the job is of: see settle_from
-- Returns   'cancelled' | 'claimed' | 'ended'
local lane, id = open_lane(ARGV[1]), ARGV[2]

if ended(redis.call('MGET', 'celery-task-meta-' .. id)[1]) then
    return 'ended'
end
if redis.call('HEXISTS', lane.jobs, id .. ':owner') == 1 then
    return 'claimed'
end
record(id, ARGV[3], ARGV[4])
if redis.call('ZREM', lane.due_key, id) == 1 then
    local message = redis.call('HGET', lane.jobs, id)
    redis.call('HDEL', lane.jobs, id, id .. ':tries')
    -- A shutdown's job that its producer cancels is counted when a worker would get it; so it waits for that once more.
    if message and (not ARGV[5] or ARGV[5] == '') and string.find(message, '\\"shutdown\\"', 1, true) then
        put_back(lane, message, '')
        redis.call('SADD', ARRIVALS, lane.name)
        wake()
    end
end
settle_from(5, lane.name, math.floor(now / SECOND))
return 'cancelled'
