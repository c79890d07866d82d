//! The operator's own calls to a stand-in: they make the world that untoil acts on, and read back
//! what became of it. Plain HTTP in AWS's protocols, so that nothing of untoil's way there is shared.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Where the stand-ins believe to be.
pub(crate) const REGION: &str = "ap-northeast-2";

/// A stand-in, by its port.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    base: String,
    client: reqwest::Client,
}

/// AWS's credential scope; the stand-ins route by it and check no signature.
fn scope(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20261122/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}

impl Cloud {
    pub(crate) fn at(port: u16) -> Self {
        Self { base: format!("http://127.0.0.1:{port}/"), client: reqwest::Client::new() }
    }

    /// A call in AWS's JSON protocol.
    pub(crate) async fn json(&self, service: &str, target: &str, body: Value) -> Value {
        let sent = self
            .client
            .post(&self.base)
            .header("authorization", scope(service))
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.1")
            .body(body.to_string());
        let answer = sent.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{target}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A call in AWS's query protocol; its answer is XML.
    pub(crate) async fn query(&self, service: &str, pairs: &[(&str, &str)]) -> String {
        let body: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let sent = self
            .client
            .post(&self.base)
            .header("authorization", scope(service))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"));
        let answer = sent.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{pairs:?}: {status} {text}");
        text
    }

    pub(crate) async fn ecs(&self, operation: &str, body: Value) -> Value {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        self.json("ecs", &target, body).await
    }

    /// Cluster `workers` with service `contact-sync`, two tasks wanted.
    pub(crate) async fn service(&self) {
        self.ecs("CreateCluster", json!({ "clusterName": "workers" })).await;
        let container = json!({ "name": "app", "image": "app", "memory": 64 });
        let task = json!({ "family": "contact-sync", "containerDefinitions": [container] });
        self.ecs("RegisterTaskDefinition", task).await;
        let service = json!({ "cluster": "workers", "serviceName": "contact-sync",
            "taskDefinition": "contact-sync", "desiredCount": 2, "launchType": "FARGATE" });
        self.ecs("CreateService", service).await;
    }

    /// Wanted and running tasks of the service, as the stand-in says.
    pub(crate) async fn tasks(&self) -> (i64, i64) {
        let what = json!({ "cluster": "workers", "services": ["contact-sync"] });
        let found = self.ecs("DescribeServices", what).await;
        let service = &found["services"][0];
        (service["desiredCount"].as_i64().unwrap(), service["runningCount"].as_i64().unwrap())
    }

    /// Makes a topic; answers its ARN.
    pub(crate) async fn topic(&self, name: &str) -> String {
        let made = self.query("sns", &[("Action", "CreateTopic"), ("Name", name)]).await;
        within(&made, "<TopicArn>", "</TopicArn>")
    }

    pub(crate) async fn subscribe(&self, topic: &str, endpoint: &str) {
        self.subscribe_by("http", topic, endpoint).await;
    }

    /// Subscribes a queue, by its ARN.
    pub(crate) async fn subscribe_queue(&self, topic: &str, arn: &str) {
        self.subscribe_by("sqs", topic, arn).await;
    }

    async fn subscribe_by(&self, protocol: &str, topic: &str, endpoint: &str) {
        let pairs = [
            ("Action", "Subscribe"),
            ("TopicArn", topic),
            ("Protocol", protocol),
            ("Endpoint", endpoint),
            ("ReturnSubscriptionArn", "true"),
        ];
        self.query("sns", &pairs).await;
    }

    /// A call of SQS.
    pub(crate) async fn sqs(&self, operation: &str, body: Value) -> Value {
        self.json("sqs", &format!("AmazonSQS.{operation}"), body).await
    }

    /// Makes a queue; answers its address and ARN.
    pub(crate) async fn queue(&self, name: &str, attributes: Value) -> (String, String) {
        let made = json!({ "QueueName": name, "Attributes": attributes });
        let url = self.sqs("CreateQueue", made).await["QueueUrl"].as_str().unwrap().to_owned();
        let wanted = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
        let told = self.sqs("GetQueueAttributes", wanted).await;
        let arn = told["Attributes"]["QueueArn"].as_str().unwrap().to_owned();
        (url, arn)
    }

    /// How many messages a queue has, visible or hidden.
    pub(crate) async fn waiting(&self, url: &str) -> u64 {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let wanted = json!({ "QueueUrl": url, "AttributeNames": names });
        let told = self.sqs("GetQueueAttributes", wanted).await;
        let number = |name: &&str| told["Attributes"][*name].as_str().unwrap().parse::<u64>();
        names.iter().map(|name| number(name).unwrap()).sum()
    }

    /// Publishes without a subject; answers the message's id.
    pub(crate) async fn publish(&self, topic: &str, message: &str) -> String {
        let pairs = [("Action", "Publish"), ("TopicArn", topic), ("Message", message)];
        within(&self.query("sns", &pairs).await, "<MessageId>", "</MessageId>")
    }
}

/// The text between two others.
pub(crate) fn within(text: &str, from: &str, to: &str) -> String {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("no `{from}` in {text}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("no `{to}` in {text}")).0.to_owned()
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                all.push(char::from(byte));
            }
            other => write!(all, "%{other:02X}").unwrap(),
        }
        all
    })
}
