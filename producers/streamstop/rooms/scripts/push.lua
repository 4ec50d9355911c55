-- Put jobs of a shutdown into their lanes; one that is there already is passed over.
--
-- ARGV[1]   id
-- ARGV[2…]  member, command, lane, list, job id, message; …
-- Returns   1, or 0 where the shutdown was cancelled or is forgotten: nothing was put anywhere
local id = ARGV[1]
local key, tasks, jobs, todo = shutdown_key(id), shutdown_key(id, 'tasks'), shutdown_key(id, 'jobs'), shutdown_key(id, 'todo')
local held = redis.call('HMGET', key, 'room', 'cancelled', 'scanned')
if not held[1] or held[2] == '1' then return 0 end
local joined = 0
for at = 2, #ARGV, 6 do
    local member, command, lane_name, list, job_id, message = unpack(ARGV, at, at + 5)
    local known = redis.call('HEXISTS', tasks, member) == 1
    -- Once the registry was put into lanes whole, what a late fan-out finds in it is the room's after its reopening.
    if (known or held[3] ~= '1') and redis.call('HSETNX', jobs, member, job_id) == 1 then
        if known then
            redis.call('LREM', todo, 1, member)
        else
            redis.call('HSET', tasks, member, command)
            joined = joined + 1
        end
        redis.call('LPUSH', list, message)
        redis.call('SADD', 'streamstop.lanes', lane_name)
        redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':total', 1)
    end
end
if joined > 0 then
    redis.call('HINCRBY', key, 'total', joined)
end
expire_shutdown(id, SHUTDOWN_OPEN)
return 1
