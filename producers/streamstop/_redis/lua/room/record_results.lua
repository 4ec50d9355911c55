--! include lib/member_result
--! args member_results(lane shutdown member result outcome ok:flag attention:flag)...
-- Record the results of members whose jobs ended elsewhere, or that never had a job.
--
-- member_results  see lib/member_result
-- Returns         1
for _, member_result in ipairs(member_results) do
    record_member_result(member_result, member_result.lane)
end
return 1
