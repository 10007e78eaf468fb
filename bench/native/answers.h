// What a null S3 answers to which request.

#pragma once
#include "loopback.h"

#define NAMESPACE "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
// With a dash, as of a multipart upload: it cannot be taken for the MD5 of the body.
#define ETAG "\"d41d8cd98f00b204e9800998ecf8427e-1\""
#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

// The first rule that fits answers. `query` is a part of the target's query, NULL for any target.
struct rule {
    const char *method, *query;
    enum { BUCKET, OBJECT, EITHER } target;
    const char *status, *body;
};

static const struct rule RULES[] = {
    {"POST ", "uploadId=", EITHER, "200 OK",
     XML "<CompleteMultipartUploadResult " NAMESPACE "><Location>/b/k</Location><Bucket>b</Bucket><Key>k</Key>"
     "<ETag>" ETAG "</ETag></CompleteMultipartUploadResult>"},
    {"POST ", "uploads", EITHER, "200 OK",
     XML "<InitiateMultipartUploadResult " NAMESPACE "><Bucket>b</Bucket><Key>k</Key>"
     "<UploadId>null-upload</UploadId></InitiateMultipartUploadResult>"},
    {"POST ", "delete", EITHER, "200 OK", XML "<DeleteResult " NAMESPACE "></DeleteResult>"},
    {"GET ", "uploadId=", EITHER, "200 OK",
     XML "<ListPartsResult " NAMESPACE "><Bucket>b</Bucket><Key>k</Key><UploadId>null-upload</UploadId>"
     "<IsTruncated>false</IsTruncated></ListPartsResult>"},
    {"GET ", NULL, OBJECT, "404 Not Found",
     XML "<Error><Code>NoSuchKey</Code><Message>Nothing is kept here.</Message></Error>"},
    {"GET ", "uploads", BUCKET, "200 OK",
     XML "<ListMultipartUploadsResult " NAMESPACE "><Bucket>b</Bucket><MaxUploads>1000</MaxUploads>"
     "<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"},
    {"GET ", "versions", BUCKET, "200 OK",
     XML "<ListVersionsResult " NAMESPACE "><Name>b</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys>"
     "<IsTruncated>false</IsTruncated></ListVersionsResult>"},
    {"GET ", NULL, BUCKET, "200 OK",
     XML "<ListBucketResult " NAMESPACE "><Name>b</Name><Prefix></Prefix><KeyCount>0</KeyCount>"
     "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"},
    {"DELETE ", NULL, EITHER, "204 No Content", ""},
    {"", NULL, EITHER, "200 OK", ""}, // PUT of an object, a part or a bucket, HEAD
};
static const struct rule MISSING = {"HEAD ", NULL, OBJECT, "404 Not Found", ""};

// /bucket/key names an object, /bucket and /bucket/ do not.
static unsigned target_of(const char *line) {
    const char *path = strchr(line, '/');
    size_t length = path != NULL ? strcspn(path, "? ") : 0;
    const char *slash = length > 1 ? memchr(path + 1, '/', length - 1) : NULL;
    return slash != NULL && slash + 1 < path + length ? OBJECT : BUCKET;
}

static const struct rule *rule_for(const char *line) {
    const char *query = strchr(line, '?');
    for (const struct rule *rule = RULES;; rule++) {
        bool fits = begins(line, rule->method) && (rule->target == EITHER || rule->target == target_of(line));
        if (fits && (rule->query == NULL || (query != NULL && strstr(query, rule->query) != NULL))) {
            return rule;
        }
    }
}
