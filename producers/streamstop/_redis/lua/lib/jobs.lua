--! include lib/writing
-- Moving a job back into its lane, or out of it. A lane is what keys_of or open_lane returned.

-- Return the table that a JSON text holds; an empty one where it holds none.
local function decode(message)
    local ok, fields = pcall(cjson.decode, message)
    if ok and type(fields) == 'table' then
        return fields
    end
    return {}
end

-- Return a job to the front of its lane. Whoever calls it drops what else the lane holds of the job.
local function put_back(lane, message, history)
    local properties = decode(message).properties
    local priority = type(properties) == 'table' and tonumber(properties.priority) or 0
    local level = math.max(1, math.min(4, math.floor(priority / 3) + 1))
    redis.call('RPUSH', lane.waiting[level], history == '' and message or '\1' .. history .. '\n' .. message)
end

-- Drop what the lane holds of a job in flight, or of one that is due later.
local function forget(lane, id)
    written = true
    redis.call('ZREM', lane.leases, id)
    redis.call('HDEL', lane.jobs, id, id .. ':owner', id .. ':tries')
end
