--! include lib/jobs lib/utf8
--! const TASK
-- Messages as producers wrote them, as far as their envelopes go.

local LONGEST_MESSAGE = 65536       -- bytes; ours have a few thousand at most
local LONGEST_HISTORY = 100         -- bytes
local NOT_ASCII = 8                 -- how much longer it takes to read a byte of a message that is not ASCII

local read = 0                      -- bytes so far

-- Return the history and the message of what waits in a list. An entry whose history is none is a message that nobody
-- can read: a producer could have written it.
local function split(entry)
    if string.sub(entry, 1, 1) ~= '\1' then return '', entry end
    local history, message = string.match(entry, '^\1([%d ]*)\n(.*)$')
    if not history or #history > LONGEST_HISTORY then return '', entry end
    return history, message
end

-- Return the id of a message that a worker can read as far as its envelope goes.
local function id_of(message)
    if #message > LONGEST_MESSAGE then return end
    read = read + #message
    if string.find(message, '[^ -~]') then      -- most have printable ASCII alone, which one look tells
        read = read + #message * NOT_ASCII
        if not is_utf8(message) then return end
        if string.find(message, '[%z\1-\8\11\12\14-\31]') then return end   -- cjson takes them, and Python does not
    end
    local headers = decode(message).headers
    if type(headers) ~= 'table' then return end
    local id = headers.id
    if headers.task == TASK and type(id) == 'string' and #id > 0 and #id <= LONGEST_ID
            -- nor may it read as what the hash of jobs keeps of another
            and not string.find(id, ':owner$') and not string.find(id, ':tries$') then
        return id
    end
end
