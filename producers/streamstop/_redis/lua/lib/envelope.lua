--! include lib/jobs lib/utf8
--! const TASK
-- Reads the envelopes of messages as producers wrote them.

local LONGEST_MESSAGE = 65536       -- bytes; ours have a few thousand at most
local LONGEST_HISTORY = 100         -- bytes
local NOT_ASCII = 8                 -- extra cost of a byte in a message that is not ASCII

local bytes_read = 0                -- in this run

-- Return the history and the message of an entry of a lane's list. An entry with an invalid history is returned whole, as
-- an unreadable message: a producer could have written it.
local function split_entry(entry)
    if string.sub(entry, 1, 1) ~= '\1' then return '', entry end
    local history, message = string.match(entry, '^\1([%d ]*)\n(.*)$')
    if not history or #history > LONGEST_HISTORY then return '', entry end
    return history, message
end

-- Return the job's id if the message's envelope is one that a worker can read, nil if not.
local function job_id_of(message)
    if #message > LONGEST_MESSAGE then return end
    bytes_read = bytes_read + #message
    if string.find(message, '[^ -~]') then      -- most are printable ASCII alone, and need no further check
        bytes_read = bytes_read + #message * NOT_ASCII
        if not is_utf8(message) then return end
        if string.find(message, '[%z\1-\8\11\12\14-\31]') then return end   -- cjson accepts them, Python does not
    end
    local headers = decode(message).headers
    if type(headers) ~= 'table' then return end
    local id = headers.id
    if headers.task == TASK and type(id) == 'string' and #id > 0 and #id <= LONGEST_ID
            -- the hash of jobs uses these suffixes for its other fields
            and not string.find(id, ':owner$') and not string.find(id, ':tries$') then
        return id
    end
end
