-- Put jobs of a shutdown into their lanes; one that is there already is passed over.
--
-- ARGV[1]   id
-- ARGV[2…]  member, command, lane, list, job id, message; …
-- Returns   1, or 0 where the shutdown was cancelled: nothing was put anywhere
local id = ARGV[1]
local key, tasks, jobs, todo = shutdown_key(id), shutdown_key(id, 'tasks'), shutdown_key(id, 'jobs'), shutdown_key(id, 'todo')
if redis.call('HGET', key, 'cancelled') == '1' then return 0 end
local joined = 0
for at = 2, #ARGV, 6 do
    local member, command, lane_name, list, job_id, message = unpack(ARGV, at, at + 5)
    joined = joined + redis.call('HSETNX', tasks, member, command)
    if redis.call('HSETNX', jobs, member, job_id) == 1 then
        redis.call('LPUSH', list, message)
        redis.call('SADD', 'streamstop.lanes', lane_name)
        redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':total', 1)
    end
    redis.call('LREM', todo, 1, member)
end
if joined > 0 then
    redis.call('HINCRBY', key, 'total', joined)
end
expire_shutdown(id, SHUTDOWN_OPEN)
return 1
