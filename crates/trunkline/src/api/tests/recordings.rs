//! Recordings: of calls and of the steps of their flows.

use super::*;

#[tokio::test]
async fn recordings_are_listed_had_in_parts_and_deleted() {
    let house = House::build().await;
    let bare = house.finished_call(0, "+12025550101").await;
    let row = house.finished_call(0, "+12025550101").await;
    house.recorded(row.id, OWN, "a.wav").await;
    let file = house.app.recordings_dir().join("a.wav");
    std::fs::write(&file, b"0123456789").unwrap();
    let list = house.get("/v1/recordings").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!((&list["data"][0]["size_bytes"], &list["data"][0]["growing"]), (&json!(10), &json!(false)));
    let url = list["data"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(house.get(&format!("/v1/calls/{}/recordings", row.id)).await.json()["data"], list["data"]);
    assert_eq!(house.get(&format!("/v1/calls/{}/recordings", bare.id)).await.json()["data"], json!([]));

    let tag = house.get(&url).await.header("etag").to_owned();
    let fetch = async |headers: &[(&'static str, &str)]| {
        let mut asked = request("GET", &url, KEY, "");
        for (name, value) in headers {
            asked.headers_mut().insert(*name, value.parse().unwrap());
        }
        let answer = house.send(asked).await;
        (
            answer.status.as_u16(),
            answer.header("content-range").to_owned(),
            String::from_utf8(answer.bytes).unwrap(),
        )
    };
    let part = |from: &str, text: &str| (206, from.to_owned(), text.to_owned());
    let whole = (200, String::new(), "0123456789".to_owned());
    assert_eq!(fetch(&[("range", "bytes=2-4")]).await, part("bytes 2-4/10", "234"));
    assert_eq!(fetch(&[("range", "bytes=-3")]).await, part("bytes 7-9/10", "789"));
    assert_eq!(fetch(&[("range", "bytes=2-4"), ("if-range", &tag)]).await, part("bytes 2-4/10", "234"));
    assert_eq!(fetch(&[("range", "bytes=2-4"), ("if-range", "\"old\"")]).await, whole);
    assert_eq!(fetch(&[("range", "bytes=0-1,4-5")]).await, whole);
    let (status, range, problem) = fetch(&[("range", "bytes=10-")]).await;
    assert_eq!((status, range.as_str()), (416, "bytes */10"), "{problem}");
    assert!(problem.contains("range_not_satisfiable"), "{problem}");
    assert_eq!(fetch(&[("if-none-match", &tag)]).await.0, 304);
    let head = house.send(request("HEAD", &url, KEY, "")).await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.bytes.len()), (200, "10", 0));

    let reader = house.key(0, &["recordings:read"]).await;
    assert_eq!(house.send(request("DELETE", &url, &reader, "")).await.status, 403);
    let acme = house.key(1, &[]).await;
    assert_eq!(house.send(request("DELETE", &url, &acme, "")).await.status, 404);
    assert_eq!(house.send(request("DELETE", &url, KEY, "")).await.status, 204);
    assert!(!file.exists());
    assert_eq!(house.send(request("DELETE", &url, KEY, "")).await.json()["code"], "no_recording");
    assert_eq!(house.get("/v1/recordings").await.json()["data"], json!([]));
}

#[tokio::test]
async fn the_recordings_of_steps_are_recordings() {
    let house = House::build().await;
    let folder = house.app.recordings_dir();
    let call = house.finished_call(1, "+12025550101").await;
    let id = call.id.with("call");
    for (number, file) in [(OWN, "own.wav"), (1, "first.wav"), (3, "third.wav")] {
        house.recorded(call.id, number, file).await;
        std::fs::write(folder.join(file), file).unwrap();
    }
    let foreign = house.finished_call(0, "+12025550101").await;
    house.recorded(foreign.id, 1, "foreign.wav").await;
    std::fs::write(folder.join("foreign.wav"), "foreign").unwrap();

    let acme = house.key(1, &[]).await;
    let ask = async |method: &str, path: &str| house.send(request(method, path, &acme, "")).await;
    let files = |answer: Answer| -> Vec<String> {
        let rows = answer.json()["data"].as_array().unwrap().clone();
        rows.iter().map(|row| row["file"].as_str().unwrap().to_owned()).collect()
    };
    let all = format!("/v1/calls/{id}/recordings");
    insta::assert_snapshot!(
        ask("GET", &all).await.json()["data"][1].to_string().replace(&id, "ID"),
        @r#"{"account":1,"call":"ID","created_at":"2026-01-01T00:00:02.005Z","duration_ms":4303,"file":"first.wav","growing":false,"number":1,"size_bytes":9,"url":"/v1/calls/ID/recordings/1"}"#
    );
    assert_eq!(files(ask("GET", &all).await), ["own.wav", "first.wav", "third.wav"]);
    let page = ask("GET", "/v1/recordings?limit=2").await.json();
    let after = page["next"].as_str().unwrap().to_owned();
    assert_eq!(
        (&page["data"][0]["file"], &page["data"][1]["file"]),
        (&json!("third.wav"), &json!("first.wav"))
    );
    assert_eq!(files(ask("GET", &format!("/v1/recordings?limit=2&after={after}")).await), ["own.wav"]);

    let mut part = request("GET", &format!("{all}/3"), &acme, "");
    part.headers_mut().insert("range", "bytes=0-4".parse().unwrap());
    let part = house.send(part).await;
    assert_eq!((part.status.as_u16(), part.bytes.as_slice()), (206, &b"third"[..]));
    assert_eq!(ask("GET", &format!("/v1/calls/{id}/recording")).await.bytes, b"own.wav");
    for path in [
        format!("{all}/2"),
        format!("{all}/-1"),
        format!("{all}/x"),
        format!("{all}/99999999999999999999"),
        format!("/v1/calls/{}/recordings/1", foreign.id),
    ] {
        for method in ["GET", "DELETE"] {
            assert_eq!(ask(method, &path).await.status, 404, "{method} {path}");
        }
    }
    assert_eq!(ask("DELETE", &format!("/v1/calls/{}/recording", foreign.id)).await.status, 404);

    assert_eq!(ask("DELETE", &format!("{all}/1")).await.status, 204);
    assert_eq!(files(ask("GET", &all).await), ["own.wav", "third.wav"]);
    assert_eq!(ask("DELETE", &format!("/v1/calls/{id}/recording")).await.status, 204);
    assert_eq!(files(ask("GET", &all).await), Vec::<String>::new());
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().map(|file| file.file_name()).collect();
    assert_eq!(left, ["foreign.wav"], "nothing stays on the disk, and nothing of others goes");
    assert_eq!(ask("DELETE", &format!("/v1/calls/{id}/recording")).await.json()["code"], "no_recording");
}
