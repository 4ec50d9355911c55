--! include lib/notes lib/writing
--! const ANSWERS
-- Answers of a job's calls after which the job went on: see _core.answers. The string streamstop.work.answers.<job id>
-- holds them. The answer that ends a job is in its outcome.

local MOST_ANSWERS = 20

-- Keep an answer, {text, ttl}, with the earlier ones of its job.
local function keep_answer(id, answered)
    begin_writing()
    add_note(ANSWERS .. id, answered.text, answered.ttl, function(notes) return newest(notes, MOST_ANSWERS) end)
end
